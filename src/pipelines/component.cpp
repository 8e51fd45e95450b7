#include "pipelines/component.h"

#include <chrono>

namespace easel::pipelines {

namespace {

// Sizes in use at one time: the full and the last batch of the current and of the previous request, for each branch of
// guidance.
constexpr size_t kMaxSessions = 8;
// With and without, and another adapter.
constexpr size_t kMaxVariants = 3;
// Looking for what fits tries a dozen sizes.
constexpr size_t kMaxPlans = 64;

}  // namespace

Component::Component(graph::Graph graph, std::shared_ptr<const exec::WeightSource> weights, device::ContextPtr context,
                     DType precision, std::shared_ptr<exec::Arena> arena)
    : graph_(std::move(graph)),
      context_(context),
      precision_(precision),
      arena_(std::move(arena)),
      store_(std::move(weights), context) {
  for (const graph::Value& value : graph_.values())
    if (value.constant) store_.check(*value.constant);
}

exec::CompileOptions Component::options(const Bindings& sizes, const exec::BandOptions& bands) const {
  exec::CompileOptions options;
  options.bindings = sizes;
  options.precision = precision_;
  options.bands = bands;
  return options;
}

std::shared_ptr<exec::Session> Component::session(const Bindings& sizes, const exec::BandOptions& bands, int instance) {
  const Key key{sizes, bands, instance};
  if (const auto found = sessions_.find(key); found != sessions_.end()) return found->second;
  const auto start = std::chrono::steady_clock::now();
  if (sessions_.size() >= kMaxSessions) sessions_.clear();
  const auto first = sessions_.find({sizes, bands, 0});
  const exec::ProgramPtr program = first != sessions_.end()
                                       ? first->second->program_ptr()
                                       : exec::compile(graph_, store_, context_, options(sizes, bands));
  auto session = std::make_shared<exec::Session>(program, arena_);
  compile_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  session->set_observer(observer_);
  return sessions_[key] = std::move(session);
}

exec::ProgramPtr Component::plan(const Bindings& sizes, const exec::BandOptions& bands,
                                 std::optional<DType> precision) {
  if (plans_.size() >= kMaxPlans) plans_.clear();
  exec::ProgramPtr& plan = plans_[{sizes, bands, static_cast<int>(precision.value_or(precision_))}];
  if (!plan) {
    exec::CompileOptions plan_options = options(sizes, bands);
    plan_options.precision = precision.value_or(precision_);
    plan_options.plan_only = true;
    plan = exec::compile(graph_, store_, context_, plan_options);
  }
  return plan;
}

void Component::set_observer(const exec::Session::Observer& observer) {
  observer_ = observer;
  for (const auto& [sizes, session] : sessions_) session->set_observer(observer_);
  for (const auto& [ranks, other] : others_)
    for (const auto& [sizes, session] : other.sessions) session->set_observer(observer_);
}

void Component::replace(exec::Replacements replacements) {
  try {
    store_.replace(std::move(replacements));
  } catch (...) {
    drop();
    throw;
  }
}

void Component::use_side_branches(const graph::SideRanks& ranks) {
  if (ranks == ranks_) return;
  others_[ranks_] = {std::move(graph_), std::move(sessions_), std::move(plans_)};
  auto found = others_.find(ranks);
  if (found == others_.end()) {
    if (others_.size() >= kMaxVariants) std::erase_if(others_, [&](const auto& other) { return !other.first.empty(); });
    found = others_.emplace(ranks, Variant{with_side_branches(others_.at({}).graph, ranks), {}, {}}).first;
  }
  graph_ = std::move(found->second.graph);
  sessions_ = std::move(found->second.sessions);
  plans_ = std::move(found->second.plans);
  others_.erase(found);
  ranks_ = ranks;
}

void Component::drop() {
  for (auto& [ranks, other] : others_) other.sessions.clear();
  sessions_.clear();
  store_.drop();
}

}  // namespace easel::pipelines
