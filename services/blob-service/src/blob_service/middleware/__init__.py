"""Storage middleware: what stands around the driver and decides where clients fetch blobs from."""
