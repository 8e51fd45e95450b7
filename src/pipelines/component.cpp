#include "pipelines/component.h"

#include <chrono>

namespace easel::pipelines {

namespace {

// Sizes in use at one time: the full and the last batch of the current and of the previous request.
constexpr size_t kMaxSessions = 4;

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

exec::CompileOptions Component::options(const Bindings& sizes) const {
  exec::CompileOptions options;
  options.bindings = sizes;
  options.precision = precision_;
  return options;
}

exec::Session& Component::session(const Bindings& sizes) {
  if (const auto found = sessions_.find(sizes); found != sessions_.end()) return *found->second;
  const auto start = std::chrono::steady_clock::now();
  if (sessions_.size() >= kMaxSessions) sessions_.clear();
  auto session = std::make_unique<exec::Session>(exec::compile(graph_, store_, context_, options(sizes)), arena_);
  compile_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  session->set_observer(observer_);
  return *(sessions_[sizes] = std::move(session));
}

exec::ProgramPtr Component::plan(const Bindings& sizes) {
  exec::ProgramPtr& plan = plans_[sizes];
  if (!plan) {
    exec::CompileOptions plan_options = options(sizes);
    plan_options.plan_only = true;
    plan = exec::compile(graph_, store_, context_, plan_options);
  }
  return plan;
}

void Component::set_observer(const exec::Session::Observer& observer) {
  observer_ = observer;
  for (const auto& [sizes, session] : sessions_) session->set_observer(observer_);
}

void Component::drop() {
  sessions_.clear();
  store_.drop();
}

}  // namespace easel::pipelines
