"""What runs where uvicorn serves by itself?"""
