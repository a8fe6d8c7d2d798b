"""What is the project made of?"""
