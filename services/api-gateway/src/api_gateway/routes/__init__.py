"""The endpoints of the V2 routes, one module for each kind of resource."""
