"""How does the schema of the polls change?"""
