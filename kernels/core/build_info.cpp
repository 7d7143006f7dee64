#include "core/build_info.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include "core/amx_config.h"
#include "core/parallel.h"

namespace limbeck {

namespace {

#ifdef __AMX_BF16__
// Sets of instructions by oneDNN's names, of which those with tile units alone have AMX in them.
bool allows_tiles() {
  const char* given = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (!given) given = std::getenv("DNNL_MAX_CPU_ISA");
  std::string most = given ? given : "";
  std::transform(most.begin(), most.end(), most.begin(), [](unsigned char letter) { return static_cast<char>(std::toupper(letter)); });
  return most.empty() || most == "ALL" || most == "DEFAULT" || most.find("AMX") != std::string::npos;
}
#endif

const char* isa_name() {
#ifdef __AVX512BF16__
  return has_tile_products() ? "amx_bf16" : "avx512_bf16";
#else
  return "avx2";
#endif
}

}  // namespace

bool has_tile_products() {
#ifdef __AMX_BF16__
  static const bool has = allows_tiles() && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") && amx::may_use_tiles();
  return has;
#else
  return false;
#endif
}

std::string build_info() {
  return "threads=" + std::to_string(thread_count()) + " library=" LIMBECK_LIBRARY " isa=" + isa_name() + " compiler=" __VERSION__;
}

}  // namespace limbeck
