"""`persia-launcher torchserve`: TorchServe as a process, from its start to its end.

command       the command line; `options` become config.properties and the command of the JVM
restoring     which models it starts with: those that were left, and those that the command line adds (`store`)
process       the process itself
running       its life: started, awaited (`readiness`), watched (`watch`, `health`), stopped
"""
