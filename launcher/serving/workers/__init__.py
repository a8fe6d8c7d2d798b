"""What does a worker of the pool do, whichever server it belongs to?"""
