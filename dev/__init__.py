"""Local stand-ins for the services in Azure."""
