"""Following a directory of update packets while the server serves: each packet whole, in its order, and none lost.

thread     when to look: notifications, and a look every fifth of a second      UpdateThread
watch      being told by the system that something changed                      Watch
updater    one look: find, decide, apply, note                                  Updater
finder     what lies on disk, cheaply again and again                           Finder
ledger     what each packet is and what is to be done with it, without I/O      Ledger
applier    one packet into the table                                            Applier
journal    what was applied, on disk                                            Journal
pruning    deleting what nobody needs                                           Pruner
"""
