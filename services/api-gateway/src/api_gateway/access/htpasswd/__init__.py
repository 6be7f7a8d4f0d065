"""`auth.htpasswd`: users and passwords in a file."""
