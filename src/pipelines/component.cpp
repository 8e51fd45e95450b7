#include "pipelines/component.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

namespace easel::pipelines {

namespace {

// Sizes in use at one time: the full and the last batch of the current and of the previous request, for each branch of
// guidance.
constexpr size_t kMaxSessions = 16;
// Graphs with side branches are only read to compile.
constexpr size_t kMaxSideGraphs = 8;
// Looking for what fits tries a dozen sizes.
constexpr size_t kMaxPlans = 64;

}  // namespace

Component::Component(graph::Graph graph, std::shared_ptr<const exec::WeightSource> weights, device::ContextPtr context,
                     DType precision, std::shared_ptr<exec::Arena> arena, bool keep_blocks)
    : graph_(std::move(graph)),
      context_(context),
      precision_(precision),
      keep_blocks_(keep_blocks),
      arena_(std::move(arena)),
      store_(std::move(weights), context) {
  check_weights(graph_);
}

void Component::check_weights(const graph::Graph& graph) const {
  for (const graph::Value& value : graph.values())
    if (value.constant) store_.check(*value.constant);
}

void Component::add_variant(const std::string& name, const std::function<graph::Graph()>& make) {
  if (variants_.contains(name)) return;
  graph::Graph graph = make();
  check_weights(graph);
  variants_.emplace(name, std::move(graph));
}

const graph::Graph& Component::graph_of(const std::string& variant) {
  const graph::Graph& plain = variant.empty() ? graph_ : variants_.at(variant);
  if (side_.empty()) return plain;
  const auto found = side_graphs_.find(variant + side_);
  if (found != side_graphs_.end()) return found->second;
  // "… beside 2": the number of its ranks.
  const graph::SideRanks& ranks = side_ranks_[std::stoul(side_.substr(side_.rfind(' ')))];
  return side_graphs_.emplace(variant + side_, with_side_branches(plain, ranks)).first->second;
}

exec::CompileOptions Component::options(const Bindings& sizes, const exec::BandOptions& bands) const {
  exec::CompileOptions options;
  options.bindings = sizes;
  options.precision = precision_;
  options.bands = bands;
  options.keep_blocks = keep_blocks_;
  return options;
}

std::shared_ptr<exec::Session> Component::session(const Bindings& sizes, const exec::BandOptions& bands, int instance,
                                                  const std::string& variant) {
  const Key key{sizes, bands, variant + side_, instance};
  if (const auto found = sessions_.find(key); found != sessions_.end()) return found->second;
  const auto start = std::chrono::steady_clock::now();
  if (sessions_.size() >= kMaxSessions) sessions_.clear();
  const auto other = std::find_if(sessions_.begin(), sessions_.end(), [&](const auto& entry) {
    return std::tie(std::get<0>(entry.first), std::get<1>(entry.first), std::get<2>(entry.first)) ==
           std::make_tuple(sizes, bands, variant + side_);
  });
  const exec::ProgramPtr program = other != sessions_.end()
                                       ? other->second->program_ptr()
                                       : exec::compile(graph_of(variant), store_, context_, options(sizes, bands));
  auto session = std::make_shared<exec::Session>(program, arena_);
  compile_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  session->set_observer(observer_);
  return sessions_[key] = std::move(session);
}

exec::ProgramPtr Component::plan(const Bindings& sizes, const exec::BandOptions& bands, std::optional<DType> precision,
                                 const std::string& variant) {
  if (plans_.size() >= kMaxPlans) plans_.clear();
  exec::ProgramPtr& plan = plans_[{sizes, bands, variant + side_, static_cast<int>(precision.value_or(precision_))}];
  if (!plan) {
    exec::CompileOptions plan_options = options(sizes, bands);
    plan_options.precision = precision.value_or(precision_);
    plan_options.plan_only = true;
    plan = exec::compile(graph_of(variant), store_, context_, plan_options);
  }
  return plan;
}

void Component::set_observer(const exec::Session::Observer& observer) {
  observer_ = observer;
  for (const auto& [sizes, session] : sessions_) session->set_observer(observer_);
}

void Component::replace(exec::Replacements replacements) {
  try {
    if (store_.replace(std::move(replacements))) {
      sessions_.clear();
      plans_.clear();
    }
  } catch (...) {
    drop();
    throw;
  }
}

void Component::use_side_branches(const graph::SideRanks& ranks) {
  side_.clear();
  if (ranks.empty()) return;
  const auto found = std::find(side_ranks_.begin(), side_ranks_.end(), ranks);
  side_ = fmt::format(" beside {}", found - side_ranks_.begin());
  if (found == side_ranks_.end()) side_ranks_.push_back(ranks);
  if (side_graphs_.size() > kMaxSideGraphs) side_graphs_.clear();
}

void Component::drop() {
  sessions_.clear();
  store_.drop();
}

}  // namespace easel::pipelines
