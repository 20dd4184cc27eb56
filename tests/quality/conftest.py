"""Judges that the tests share: the embedded one, loaded once, and tiny random ones saved as folders."""

import pytest

from tamis.quality import AskLLM

SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")
WORDS = ("yes", "Yes", "no", "No", "the", "a", "text", "is", "Text", "##", "###", "cat", "dog", "red", "well")


@pytest.fixture(scope="session")
def smollm():
    judge = AskLLM("smollm2-135m", max_tokens=48, batch_size=4)
    judge.local_judge()
    return judge


@pytest.fixture(scope="session")
def word_tokenizer():
    """Makes a tokenizer of whole words; words it does not know are <unk>."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    def make(words=WORDS, template=None, chat_template=None):
        vocabulary = {token: index for index, token in enumerate((*SPECIAL, *words))}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
        if template is not None:
            specials = [("<s>", 2), ("</s>", 3)]
            tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=specials)
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="<pad>",
            unk_token="<unk>",
            bos_token="<s>",
            eos_token="</s>",
            chat_template=chat_template,
        )

    return make


@pytest.fixture(scope="session")
def save_llama():
    """Saves a random Llama of two layers with a tokenizer as a transformers folder; returns the model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def save(folder, tokenizer, context=512):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=context,
            initializer_range=0.3,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
        )
        model = LlamaForCausalLM(config).eval()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return model

    return save


@pytest.fixture(scope="session")
def save_t5():
    """Saves a random T5 of two layers with a tokenizer as a transformers folder; returns the model."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    def save(folder, tokenizer):
        torch.manual_seed(0)
        config = T5Config(
            vocab_size=len(tokenizer),
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            initializer_factor=3.0,
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=3,
        )
        model = T5ForConditionalGeneration(config).eval()
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return model

    return save
