"""What a client and a launcher of TorchServe share: its gRPC schema, its errors as ours, its tokens, its management calls."""

from persia.torchserve.management import Management
from persia.torchserve.model import Model
from persia.torchserve.scores import decode_scores, encode_scores
from persia.torchserve.tokens import Tokens

__all__ = ["Management", "Model", "Tokens", "decode_scores", "encode_scores"]
