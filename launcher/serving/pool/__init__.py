"""What keeps the workers of a server alive, and replaces and ends them?"""
