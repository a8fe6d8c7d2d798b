"""What runs where gunicorn serves?"""
