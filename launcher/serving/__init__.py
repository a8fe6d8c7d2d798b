"""What happens in the server's own processes, after the exec?"""
