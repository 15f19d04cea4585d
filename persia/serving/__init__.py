"""Being asked: a gRPC server with what each of ours has, and the command line that such servers share."""
