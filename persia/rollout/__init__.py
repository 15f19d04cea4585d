"""`persia-launcher rollout plan`: prints the steps by which a release of the Helm chart changes while it serves."""
