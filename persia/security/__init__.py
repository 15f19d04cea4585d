"""What the section `security` of global_config.yaml becomes: TLS and tokens of servers and clients.

persia.rpc.grpcio has the same for channels of grpcio, which is imported there alone.
"""

from persia.security.ends import ClientSecurity, ServerSecurity
from persia.security.refreshing import Refreshing

__all__ = ["ClientSecurity", "Refreshing", "ServerSecurity"]
