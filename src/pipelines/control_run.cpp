#include "pipelines/control_run.h"

#include <algorithm>
#include <ranges>

namespace easel::pipelines {

struct ControlRun::Runner {
  std::shared_ptr<exec::Session> session;
  std::vector<Tensor> own;  // outputs, for another network to add to
  bool shares_sample = false;
  bool prepared = false;  // what comes once per request has run
};

ControlRun::ControlRun(std::vector<ControlUse> uses, std::vector<ControlPicture> pictures, std::vector<Place> places,
                       Bindings sizes)
    : uses_(std::move(uses)), pictures_(std::move(pictures)), places_(std::move(places)), sizes_(std::move(sizes)) {
  clear_.assign(places_.size(), false);
  features_.resize(places_.size());
  // Sessions may come from a request before.
  for (size_t place = 0; place < places_.size(); ++place) clear(place);
}

void ControlRun::clear(size_t place) {
  if (clear_[place]) return;
  const auto net = std::ranges::find_if(uses_, [](const ControlUse& use) { return !use.adapts(); });
  clear_[place] = true;
  if (net == uses_.end()) return;
  for (const std::string& name : net->net->targets) {
    const auto values = places_[place].unet->tensor(name).span<float>();
    std::fill(values.begin(), values.end(), 0.0f);
  }
}

// The features of all adapters that act, added up; every row of the UNet sees them.
void ControlRun::add_features(size_t place, const std::vector<size_t>& acting) {
  if (features_[place] == acting) return;
  for (const ControlUse& use : uses_)
    for (size_t i = 0; use.adapts() && i < use.net->targets.size(); ++i) {
      const auto values = places_[place].unet->tensor(use.net->targets[i]).span<float>();
      std::fill(values.begin(), values.end(), 0.0f);
    }
  for (const size_t use : acting)
    for (size_t i = 0; i < pictures_[use].features.size(); ++i) {
      const auto from = pictures_[use].features[i].span<float>();
      const auto to = places_[place].unet->tensor(uses_[use].net->targets[i]).span<float>();
      for (size_t k = 0; k < to.size(); ++k) to[k] += uses_[use].scales[i] * from[k];
    }
  features_[place] = acting;
}

void ControlRun::texts_changed(size_t place) {
  for (auto& [key, runner] : runners_)
    if (std::get<0>(key) == place) runner->prepared = false;
}

ControlRun::Runner& ControlRun::runner(size_t place, size_t use, bool accumulates) {
  std::shared_ptr<Runner>& runner = runners_[{place, use, accumulates}];
  if (runner) return *runner;
  runner = std::make_shared<Runner>();
  const Place& at = places_[place];
  const auto rows = static_cast<int64_t>(at.sees.size());
  Bindings sizes = sizes_;
  sizes["batch"] = rows;
  // One network may stand twice in a request, with two pictures.
  const int instance = at.instance * static_cast<int>(uses_.size()) + static_cast<int>(use);
  runner->session = uses_[use].net->component->session(sizes, {}, instance, accumulates ? kAccumulates : "");
  exec::Session& session = *runner->session;
  session.bind("controlnet_cond", pictures_[use].pixels);
  // What both networks are told stands in the UNet's inputs.
  for (const exec::Slot& slot : session.program().slots()) {
    const bool shared = slot.name == "timestep" || slot.name == "encoder_hidden_states" || slot.name == "text_embeds" ||
                        slot.name == "time_ids" || slot.name == "class_labels";
    const bool same_sample = slot.name == "sample" && slot.shape[1] == at.unet->tensor("sample").dim(1);
    if (shared || same_sample) session.bind(slot.name, at.unet->tensor(slot.name).rows(at.first, at.first + rows));
    runner->shares_sample |= same_sample;
  }
  const std::vector<float>& scales = uses_[use].scales;
  float* to = session.tensor("conditioning_scales").data<float>();
  for (const bool sees : at.sees)
    for (const float scale : scales) *to++ = sees ? scale : 0.0f;
  return *runner;
}

ControlRun::Acting ControlRun::acting_at(size_t place, int call, int calls, double progress) const {
  Acting out;
  for (size_t use = 0; use < uses_.size(); ++use) {
    if (!uses_[use].acts() || !uses_[use].acts_at(call, calls, progress)) continue;
    if (uses_[use].adapts())
      out.adapters.push_back(use);
    else if (!places_[place].sees.empty())
      out.networks.push_back(use);
  }
  return out;
}

void ControlRun::once_per_request(Runner& runner) {
  if (!runner.prepared) runner.session->run(graph::Rate::request);
  runner.prepared = true;
}

void ControlRun::prepare(int calls) {
  for (size_t place = 0; place < places_.size(); ++place) {
    const Acting first = acting_at(place, 0, calls, 0);
    for (size_t i = 0; i < first.networks.size(); ++i) once_per_request(runner(place, first.networks[i], i > 0));
  }
}

void ControlRun::run(size_t place, int call, int calls, double progress, std::span<const float> sample, int pictures) {
  const Place& at = places_[place];
  const auto [acting, adapting] = acting_at(place, call, calls, progress);
  add_features(place, adapting);
  if (acting.empty()) return clear(place);
  const auto rows = static_cast<int64_t>(at.sees.size());
  const std::vector<Tensor>* before = nullptr;
  for (size_t i = 0; i < acting.size(); ++i) {
    Runner& own = runner(place, acting[i], i > 0);
    const ControlNet& net = *uses_[acting[i]].net;
    exec::Session& session = *own.session;
    const bool last = i + 1 == acting.size();
    if (last) own.own.clear();
    for (size_t r = 0; r < net.outputs.size(); ++r) {
      if (before) session.bind(net.targets[r], (*before)[r]);
      if (last) {
        session.bind(net.outputs[r], at.unet->tensor(net.targets[r]).rows(at.first, at.first + rows));
      } else {
        if (own.own.size() <= r) own.own.push_back(Tensor::empty(DType::f32, session.tensor(net.outputs[r]).shape()));
        session.bind(net.outputs[r], own.own[r]);
      }
    }
    if (!own.shares_sample) {  // the UNet sees a mask or a picture beside it
      const size_t item = sample.size() / static_cast<size_t>(pictures);
      float* to = session.tensor("sample").data<float>();
      for (int64_t row = 0; row < rows; ++row, to += item) {
        const auto picture = static_cast<size_t>((at.first + row) % pictures);
        std::copy_n(sample.begin() + static_cast<ptrdiff_t>(picture * item), item, to);
      }
    }
    once_per_request(own);
    session.run(graph::Rate::schedule);
    session.run(graph::Rate::step);
    before = &own.own;
  }
  clear_[place] = false;
}

}  // namespace easel::pipelines
