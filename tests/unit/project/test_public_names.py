"""The names that users import: they are a promise, so each of them is written down here and found where it is said to be."""

from __future__ import annotations

from importlib import import_module

import pytest

NAMES = {
    "persia": ["__version__"],
    "persia.batch": ["IDTypeFeature", "IDTypeFeatureWithSingleID", "Label", "NonIDTypeFeature", "PersiaBatch"],
    "persia.client": ["AsyncClient", "Client"],
    "persia.client.predict": ["AsyncClient", "Client", "Prediction"],
    "persia.client.split_client": ["SplitClient", "split_model"],
    "persia.client.text": ["TextClient"],
    "persia.config": ["load_embedding_config", "load_global_config", "parse_embedding_config"],
    "persia.ctx": ["EmbeddingBatch", "Features", "InferCtx"],
    "persia.embedding.data": ["IDTypeFeature", "IDTypeFeatureWithSingleID", "Label", "NonIDTypeFeature", "PersiaBatch"],
    "persia.embedding_server.writer": ["IncrementalDumper", "read_manifest", "verify_packet", "write_checkpoint"],
    "persia.errors": ["ConfigError", "DeadlineExceeded", "InvalidInput", "NotFound", "PersiaError", "TooLarge", "Unavailable"],
    "persia.export": ["Export", "Feature", "from_torch"],
    "persia.handlers.factory.handler": ["handler_factory"],
    "persia.handlers.outcomes": ["Outcomes"],
    "persia.handlers.persia_handler": ["PersiaHandler"],
    "persia.handlers.refusals": ["exception_of", "with_refusals"],
    "persia.handlers.transformers_handler": ["TransformersHandler"],
    "persia.importers": ["import_tables", "load_table_map", "read_report", "verify_import"],
    "persia.launcher": ["main"],
    "persia.prelude": ["PyPersiaBatchData", "forward_directly_from_bytes"],
    "persia.receipts.kept": ["KeptFile", "kept_files", "read_kept", "write_kept"],
    "persia.receipts.receipt": ["KeptAnswer", "Receipt", "parse_receipt", "read_receipt"],
    "persia.routing": ["Lookup", "Lookups", "RouterOptions", "connect", "make_slots"],
    "persia.rpc.grpcio": ["GrpcioSecurity"],
    "persia.service": ["get_embedding_worker_services"],
    "persia.signs": ["hash_string", "hash_strings", "signs_of"],
    "persia.text": ["TextModel", "TextSettings"],
    "persia.torchserve.schema": ["new_message", "open_channel", "predictions_call"],
    "persia.writers": ["IncrementalDumper", "read_manifest", "verify_packet", "write_checkpoint"],
}


@pytest.mark.parametrize("module", NAMES)
def test_public_names_are_where_users_find_them(module: str) -> None:
    found = import_module(module)
    assert [name for name in NAMES[module] if not hasattr(found, name)] == []
