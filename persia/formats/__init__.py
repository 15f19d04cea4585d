"""What lies on disk: the names, markers and checks of checkpoints, packets and their files. No policy, and no table.

Loader, inspector, resharder, writers, updater and pruner stand on these modules, so that all of them mean the same by a
checkpoint, by a packet, and by a broken one.

    layout         the names of directories and files
    marker         the file that says that a checkpoint is complete
    checkpoint     opening a checkpoint: what is in it, and what is wrong with it
    bounds         which packets a checkpoint has
    packet         a packet's name, files and place in the order
    manifest       what a packet's files are
    verification   whether a packet is what its writer wrote
    sign_files     .del and .ttl
"""
