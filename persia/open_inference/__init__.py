"""The Open Inference Protocol, version 2: its tensors, and how they are written in JSON, in binary and in protobuf."""
