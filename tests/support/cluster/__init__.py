"""A real Kubernetes cluster of three machines on this one, and what happens to a deployment there: `make cluster-test`.

binaries        Kubernetes' programs: those in $KUBERNETES_BIN, or built from Debian's sources
images          the image of the deployment, and of the container that holds a pod's network
machines        machines of network, mount and process namespaces, with cables that can be pulled
control_plane   etcd, the API server, the controllers and the scheduler
disks           what machines have on their disks before they start
node            a containerd and a kubelet on a machine
dns             the addresses behind the names of services, a process of its own
cluster         all of that, started and stopped
api             what the API server says
release         the chart as it is installed, upgraded and rolled
callers         processes that ask all the time, and what went wrong with them
events          what happens to the deployment
report          the table of all that
"""
