"""`persia-launcher plan`: how many shards, replicas and machines a workload needs, from measured points."""
