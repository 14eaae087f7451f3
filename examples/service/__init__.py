"""A web service with the runtime in its lifespan. See README.md beside this file."""
