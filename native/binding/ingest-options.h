// The options of an Ingest as JavaScript gives them, checked one by one.
#pragma once

#include <optional>

#include "../core/ingest.h"
#include "binding.h"

namespace usher::binding {

// Nothing, with a TypeError thrown that names the option, where one isn't what src/base/native.ts says.
std::optional<IngestOptions> read_ingest_options(Napi::Value value);

}  // namespace usher::binding
