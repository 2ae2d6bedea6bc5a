"""Stand-ins on a laptop for what runs in Azure."""
