"""What does the application take, tried out in throw-away processes?"""
