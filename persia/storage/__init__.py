"""Files that lie elsewhere: in S3 and what speaks like it, in Google's and Azure's stores, in HDFS.

store       the verbs that everything else asks a store for, and what they cost
place       which store a URL means, and which of our extras has its library
objects     object stores, by obstore
hdfs        Hadoop's file system, by hdfs-native
problems    what a store refuses, as errors of the operating system
fetching    a file of a store onto the local disk
tree        a directory of a store as a skeleton on the local disk
model_store archives of a store in a directory
arguments   places as arguments of commands
"""

from .place import Place, place_of
from .store import Entry, Requests, Store

__all__ = ["Entry", "Place", "Requests", "Store", "place_of"]
