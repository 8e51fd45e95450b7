// Control networks at work beside the UNet.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "pipelines/control_nets.h"

namespace easel::pipelines {

/// What the networks of a request give to one batch of the UNet, session by session. They read the UNet's own inputs
/// and write into its further ones; nothing is copied where the shapes allow.
class ControlRun {
 public:
  /// A session of the UNet and the rows of it that a network has to compute: all that see the pictures, and what lies
  /// between them. `sees` has one entry for each of these rows.
  struct Place {
    std::shared_ptr<exec::Session> unet;
    int64_t first = 0;
    std::vector<bool> sees;
    int instance = 0;  ///< of sessions, as the UNet's
  };

  /// pictures: of each use; sizes: the UNet's, whose batch is overridden.
  ControlRun(std::vector<ControlUse> uses, std::vector<ControlPicture> pictures, std::vector<Place> places,
             Bindings sizes);

  /// Before the first of `calls` runs: compiles what acts there, and runs what of it comes once per request. The UNet's
  /// texts stand in its inputs.
  void prepare(int calls);
  /// The texts in a place have changed.
  void texts_changed(size_t place);
  /// Fills the UNet's inputs of a place for run `call` of `calls`: its sample and timestep stand in its own inputs.
  /// sample: [pictures, C, h, w]; row r of the place shows picture r mod pictures.
  void run(size_t place, int call, int calls, double progress, std::span<const float> sample, int pictures);

 private:
  struct Runner;  // one program of one network in one place

  /// Entries of uses_.
  struct Acting {
    std::vector<size_t> networks, adapters;
  };

  Acting acting_at(size_t place, int call, int calls, double progress) const;
  static void once_per_request(Runner& runner);
  Runner& runner(size_t place, size_t use, bool accumulates);
  void clear(size_t place);
  void add_features(size_t place, const std::vector<size_t>& acting);

  std::vector<ControlUse> uses_;
  std::vector<ControlPicture> pictures_;
  std::vector<Place> places_;
  std::vector<bool> clear_;                                   // whether the residuals in a place are all 0
  std::vector<std::optional<std::vector<size_t>>> features_;  // the adapters whose features a place has
  Bindings sizes_;
  std::map<std::tuple<size_t, size_t, bool>, std::shared_ptr<Runner>> runners_;
};

}  // namespace easel::pipelines
