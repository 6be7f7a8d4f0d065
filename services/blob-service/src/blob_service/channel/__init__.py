"""The data channel: clients' connections, lent by gateways, over which this service moves bytes itself.

Source: blob.proto, "The data channel".
"""
