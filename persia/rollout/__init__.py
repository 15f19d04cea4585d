"""`persia-launcher rollout plan`: the steps by which a release of the Helm chart changes while it serves. It only prints them."""
