"""What happens before this process becomes the server?"""
