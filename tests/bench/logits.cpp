// llama.cpp's logits, for comparing: logits MODEL STEP FLASH THREADS
// Reads lines of token ids, each a text of its own, and writes the logits after
// every token as raw f32, one vocabulary a token, in order. STEP tokens go
// through the model at a time: 1 is its decode, more its prefill.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "llama.h"

namespace {

constexpr int LONGEST = 4096;

[[noreturn]] void die(const char * what) {
    std::fprintf(stderr, "logits: %s\n", what);
    std::exit(1);
}

std::vector<llama_token> ids(const std::string & line) {
    std::istringstream in(line);
    std::vector<llama_token> out;
    for (llama_token id; in >> id;) out.push_back(id);
    return out;
}

}  // namespace

int main(int argc, char ** argv) {
    if (argc != 5) die("usage: logits MODEL STEP on|off THREADS");
    const int step = std::atoi(argv[2]);
    const int threads = std::atoi(argv[4]);
    if (step < 1 || step > LONGEST || threads < 1) die("STEP and THREADS are numbers over 0");
    llama_log_set([](ggml_log_level level, const char * text, void *) {
        if (level >= GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
    }, nullptr);
    llama_backend_init();

    std::unique_ptr<llama_model, decltype(&llama_model_free)> model(
        llama_model_load_from_file(argv[1], llama_model_default_params()), llama_model_free);
    if (!model) die("cannot load the model");
    llama_context_params params = llama_context_default_params();
    params.n_ctx = LONGEST;
    params.n_batch = params.n_ubatch = step;
    params.n_threads = params.n_threads_batch = threads;
    params.flash_attn_type = std::strcmp(argv[3], "on") == 0 ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    std::unique_ptr<llama_context, decltype(&llama_free)> context(
        llama_init_from_model(model.get(), params), llama_free);
    if (!context) die("cannot make a context");
    const size_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model.get()));

    llama_batch batch = llama_batch_init(step, 0, 1);
    for (std::string line; std::getline(std::cin, line);) {
        const std::vector<llama_token> text = ids(line);
        if (text.size() > LONGEST) die("a text is too long");
        llama_memory_clear(llama_get_memory(context.get()), true);
        for (size_t at = 0; at < text.size();) {
            batch.n_tokens = 0;
            for (; batch.n_tokens < step && at < text.size(); ++at, ++batch.n_tokens) {
                const int i = batch.n_tokens;
                batch.token[i] = text[at];
                batch.pos[i] = static_cast<llama_pos>(at);
                batch.n_seq_id[i] = 1;
                batch.seq_id[i][0] = 0;
                batch.logits[i] = 1;
            }
            if (llama_decode(context.get(), batch) != 0) die("a step failed");
            for (int i = 0; i < batch.n_tokens; ++i) {
                const float * row = llama_get_logits_ith(context.get(), i);
                if (std::fwrite(row, sizeof(float), vocabulary, stdout) != vocabulary) die("cannot write");
            }
            std::fflush(stdout);
        }
    }
    llama_batch_free(batch);
}
