"""A real Kubernetes cluster of three machines on this one, and what happens to a deployment there: `make cluster-test`.

Before a run, from outside:
binaries        Kubernetes' programs: those in $KUBERNETES_BIN, or built from Debian's sources
images, pause   the image of the deployment, and that of the container that holds a pod's network

The cluster, in namespaces of its own:
machines        machines of network, mount and process namespaces (reaper: their first process), with cables to pull
disks           what machines have on their disks before they start
node            a containerd and a kubelet on a machine
control_plane   etcd, the API server, the controllers and the scheduler
dns             the addresses behind the names of services, a process of its own
cluster         all of that, started and stopped
api             what the API server says

What happens there:
run             the run: a deployment, callers, one event after the other
shared_files    checkpoint, packets and certificates; archives writes those of the dense model
release         the chart as it is installed, upgraded and rolled back
events          what happens to the deployment
load, dense_load  processes that ask all the time, for rows and for scores; callers is the run's end of them
report          the table of all that
"""
