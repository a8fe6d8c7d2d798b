"""What does a distribution with a step type for asgi-launcher look like?"""
