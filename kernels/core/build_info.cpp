#include "core/build_info.h"

#include <dnnl.hpp>
#include "core/amx_config.h"
#include "core/parallel.h"

namespace limbeck {

namespace {

struct IsaName {
  dnnl::cpu_isa isa;
  const char* name;
};

// Each name stands for a set of instructions, so the list is not a range.
constexpr IsaName isa_names[] = {
    {dnnl::cpu_isa::sse41, "sse41"},
    {dnnl::cpu_isa::avx, "avx"},
    {dnnl::cpu_isa::avx2, "avx2"},
    {dnnl::cpu_isa::avx2_vnni, "avx2_vnni"},
    {dnnl::cpu_isa::avx512_core, "avx512_core"},
    {dnnl::cpu_isa::avx512_core_vnni, "avx512_core_vnni"},
    {dnnl::cpu_isa::avx512_core_bf16, "avx512_core_bf16"},
    {dnnl::cpu_isa::avx512_core_amx, "avx512_core_amx"},
};

std::string isa_name() {
  const dnnl::cpu_isa isa = dnnl::get_effective_cpu_isa();
  for (const IsaName& known : isa_names) {
    if (known.isa == isa) return known.name;
  }
  return "isa_" + std::to_string(static_cast<int>(isa));
}

}  // namespace

bool has_tile_products() {
#ifdef __AMX_BF16__
  constexpr auto wanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_amx);
  static const bool has = (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & wanted) == wanted && amx::may_use_tiles();
  return has;
#else
  return false;
#endif
}

std::string build_info() {
  const dnnl_version_t* version = dnnl_version();
  return "threads=" + std::to_string(thread_count()) + " library=" LIMBECK_LIBRARY " isa=" + isa_name() + " onednn=" +
         std::to_string(version->major) + "." + std::to_string(version->minor) + "." + std::to_string(version->patch) + " compiler=" __VERSION__;
}

}  // namespace limbeck
