"""What does the example serve? Items of users, out of a database whose schema alembic keeps."""
