"""Models loaded by several threads at once leave the process as it was."""

import threading

from transformers import PreTrainedModel

from tamis.training.models import load_model


def test_threads_that_load_at_once_leave_weights_tied(tmp_path):
    import torch
    from tokenizers import Tokenizer, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=20, tie_word_embeddings=True, **size)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(tmp_path)
    before, failed = PreTrainedModel.tie_weights, []

    def load() -> None:
        for _ in range(5):
            loaded = load_model(tmp_path, torch.device("cpu"), 16).model
            if loaded.lm_head.weight is not loaded.model.embed_tokens.weight:
                failed.append(loaded)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert PreTrainedModel.tie_weights is before
