"""TorchServe, as clients, launchers and handlers of ours need it.

schema, status, tokens, management    its gRPC: messages and methods, errors as ours, tokens, management calls
scores, details, json_form            what requests and answers of our handler look like
settings                              the settings of our handler, in an archive and in the environment
state, wanted                         the directory of its launcher, and the models that it is to have
archive                               model archives: written, tried, read, compared
run                                   TorchServe as a process
"""
