"""What is asked, and how often was each answer chosen?"""
