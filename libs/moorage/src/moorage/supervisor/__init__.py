"""`moorage up`: the four services and their broker as child processes of one supervisor."""
