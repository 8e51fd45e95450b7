"""Makes tests/goldens/sampling/{samplers,multistep,random,schedules}.json with diffusers and torch (CPU).

    python tests/goldens/make_sampling.py

Samplers: the initial sample and the network's part are torch.randn with fixed seeds, which the test draws itself:
    generator 7: unit noise of the shape; generator 11: per model call r of the shape ([N, 2C, ...] where the
    variance is predicted); generator 13: the noise of the steps.
    model output = 0.5 * r + 0.1 * scale_model_input(sample); predicted variance = 0.25 * |r|.
Stored: timesteps, init_noise_sigma and the sample after each (or only the last) iteration, as hexadecimal float32 bits.
"""

import inspect
import itertools
import json
import pathlib
import warnings

import diffusers
import numpy as np
import torch

warnings.filterwarnings("ignore")
diffusers.utils.logging.set_verbosity_error()
torch.set_num_threads(1)

FOLDER = pathlib.Path(__file__).parent / "sampling"
SHAPE = (2, 3, 1, 3)

SD15 = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}

CLASSES = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "dpm_solver++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_ancestral": "EulerAncestralDiscreteScheduler",
}
# Those over ln(alpha/sigma), and those with levels of their own.
MULTISTEP = {
    "unipc_multistep": "UniPCMultistepScheduler",
    "deis_multistep": "DEISMultistepScheduler",
    "sasolver": "SASolverScheduler",
    "dpmsolver_singlestep": "DPMSolverSinglestepScheduler",
}
OWN_LEVELS = {
    "ipndm_scheduler": "IPNDMScheduler",
    "edm_euler": "EDMEulerScheduler",
    "edm_dpmsolver_multistep": "EDMDPMSolverMultistepScheduler",
}
ALL = {**CLASSES, **MULTISTEP, **OWN_LEVELS}


def hexed(array):
    return np.ascontiguousarray(array, dtype=">f4").tobytes().hex()


def run(name, config, steps, sampler="", eta=0.0, schedule=None, all_steps=True, call=None):
    """One case. `call`: how diffusers is told what --scheduler means."""
    class_name = ALL[sampler] if sampler else config["_class_name"]
    scheduler = getattr(diffusers, class_name).from_config(config, **(call or {}))
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        # Without it a schedule that begins with the same timestep twice starts at its second step and runs off its end.
        scheduler.set_begin_index(0)
    step_noise = torch.Generator().manual_seed(13)
    outputs = torch.Generator().manual_seed(11)
    doubled = class_name == "DDPMScheduler" and str(scheduler.config.variance_type).startswith("learned")
    sample = torch.randn(SHAPE, generator=torch.Generator().manual_seed(7)) * scheduler.init_noise_sigma
    extra = {}
    if class_name == "DDIMScheduler":
        extra = {"eta": eta, "generator": step_noise}
    elif "generator" in inspect.signature(scheduler.step).parameters:
        extra = {"generator": step_noise}
    assert len(scheduler.timesteps) < 100
    latents = []
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(sample, t)
        if doubled:
            r = torch.randn((SHAPE[0], 2 * SHAPE[1], *SHAPE[2:]), generator=outputs)
            output = torch.cat([0.5 * r[:, : SHAPE[1]] + 0.1 * scaled, 0.25 * r[:, SHAPE[1] :].abs()], dim=1)
        else:
            output = 0.5 * torch.randn(SHAPE, generator=outputs) + 0.1 * scaled
        sample = scheduler.step(output, t, sample, **extra).prev_sample
        latents.append(hexed(sample))
    assert torch.isfinite(sample).all(), name
    case = {"name": name, "steps": steps, "config": config}
    if sampler:
        case["sampler"] = sampler
    if eta:
        case["eta"] = eta
    if schedule:
        case["scheduler"] = schedule
    case["timesteps"] = [float(t) for t in scheduler.timesteps]
    case["init_noise_sigma"] = float(scheduler.init_noise_sigma)
    case["latents"] = latents if all_steps else latents[-1:]
    return case


def sampler_cases():
    # The usual configuration with every sampler, as long as people run it.
    for name in CLASSES:
        for steps in (1, 2, 3, 20, 30):
            yield run(f"sd15/{name}/{steps}", SD15, steps, sampler=name, all_steps=steps < 4)
    yield run("sd15/own", SD15, 50, all_steps=False)
    yield run("sd15/ddim/eta", SD15, 30, sampler="ddim", eta=0.7, all_steps=False)
    for name in ("euler", "dpm_solver++"):
        for schedule in ("karras", "exponential", "beta"):
            call = {f"use_{schedule}_sigmas": True}
            yield run(f"sd15/{name}/{schedule}", SD15, 25, sampler=name, schedule=schedule, call=call, all_steps=False)
    yield run("sd15/lu", SD15, 25, sampler="dpm_solver++", schedule="lu", call={"use_lu_lambdas": True}, all_steps=False)
    for name in CLASSES:
        yield run(
            f"sd15/{name}/trailing", SD15, 25, sampler=name, schedule="trailing",
            call={"timestep_spacing": "trailing"}, all_steps=False,
        )  # fmt: skip

    # Prediction type x spacing for every class.
    for name, prediction, spacing in itertools.product(
        CLASSES, ("epsilon", "sample", "v_prediction"), ("leading", "trailing", "linspace")
    ):
        if prediction == "sample" and name in ("pndm", "euler_ancestral"):
            continue
        config = {
            "_class_name": CLASSES[name],
            "prediction_type": prediction,
            "timestep_spacing": spacing,
            "clip_sample": False,
            "skip_prk_steps": True,
        }
        yield run(f"{name}/{prediction}/{spacing}", config, 5, eta=0.5 if name == "ddim" else 0.0)

    def case(name, label, steps=5, eta=0.0, **fields):
        return run(f"{name}/{label}", {"_class_name": CLASSES[name], **fields}, steps, eta=eta)

    # Noise schedules for every class.
    trained = [round(0.001 + 0.0015 * i, 6) for i in range(20)]
    for name in CLASSES:
        plain = {"clip_sample": False, "skip_prk_steps": True}
        yield case(name, "squaredcos_cap_v2", beta_schedule="squaredcos_cap_v2", **plain)
        yield case(name, "scaled_linear", beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **plain)
        yield case(name, "trained_betas", trained_betas=trained, num_train_timesteps=20, **plain)
        yield case(name, "steps_offset", steps_offset=3, num_train_timesteps=600, timestep_spacing="leading", **plain)
        if name != "pndm":
            zero_snr = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", **plain}
            yield case(name, "zero_snr/trailing", timestep_spacing="trailing", **zero_snr)
            yield case(name, "zero_snr/leading", timestep_spacing="leading", **zero_snr)
    for schedule in ("sigmoid", "laplace"):
        yield case("ddpm", schedule, beta_schedule=schedule, clip_sample=False)

    # DDPM, DDIM: variance, clipping, thresholding, final alpha.
    for variance in ("fixed_small", "fixed_small_log", "fixed_large", "learned", "learned_range"):
        yield case("ddpm", variance, variance_type=variance)
    for name in ("ddpm", "ddim"):
        yield case(name, "defaults")
        yield case(name, "clip_sample_range", clip_sample_range=0.4)
        yield case(name, "thresholding", thresholding=True, sample_max_value=1.7, dynamic_thresholding_ratio=0.8)
    for final in (True, False):
        yield case("ddim", f"set_alpha_to_one/{final}", set_alpha_to_one=final, eta=1.0, prediction_type="sample")
        yield case("pndm", f"set_alpha_to_one/{final}", set_alpha_to_one=final, skip_prk_steps=True)
    # PNDM with its Runge-Kutta steps.
    for steps, spacing in ((4, "leading"), (6, "linspace"), (7, "trailing")):
        yield case("pndm", f"prk/{spacing}", steps=steps, timestep_spacing=spacing)
    yield case("pndm", "prk/v_prediction", steps=5, prediction_type="v_prediction", steps_offset=1)
    # Carried-over fields, and those that count as left out.
    carried = {**SD15, "_class_name": "DDIMScheduler", "clip_sample": True, "prediction_type": "v_prediction"}
    yield run("carried/ddpm", carried, 5, sampler="ddpm")
    yield run("carried/defaults", {**carried, "_use_default_values": ["prediction_type", "steps_offset"]}, 5, sampler="ddpm")
    unipc = {**SD15, "_class_name": "UniPCMultistepScheduler", "solver_type": "bh2", "solver_order": 3}
    yield run("carried/unipc", unipc, 6, sampler="dpm_solver++")
    deis = {**SD15, "_class_name": "DEISMultistepScheduler", "algorithm_type": "deis", "solver_type": "logrho", "final_sigmas_type": "sigma_min"}
    yield run("carried/deis", deis, 6, sampler="dpm_solver++")

    # DPM-Solver: algorithm x order x type x prediction, and the rest.
    for algorithm, order, kind in itertools.product(
        ("dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver"), (1, 2, 3), ("midpoint", "heun")
    ):
        if (algorithm == "sde-dpmsolver" and order == 3) or (order != 2 and kind == "heun"):
            continue
        final = "zero" if "++" in algorithm else "sigma_min"
        yield case(
            "dpm_solver++", f"{algorithm}/{order}/{kind}", steps=6, algorithm_type=algorithm, solver_order=order,
            solver_type=kind, final_sigmas_type=final,
        )  # fmt: skip
    for algorithm, prediction in itertools.product(("dpmsolver", "sde-dpmsolver++"), ("sample", "v_prediction")):
        yield case(
            "dpm_solver++", f"{algorithm}/{prediction}", algorithm_type=algorithm, prediction_type=prediction,
            final_sigmas_type="sigma_min",
        )  # fmt: skip
    for algorithm in ("dpmsolver", "dpmsolver++"):
        yield case(
            "dpm_solver++", f"thresholding/{algorithm}", algorithm_type=algorithm, final_sigmas_type="sigma_min",
            thresholding=True, sample_max_value=2.0,
        )  # fmt: skip
    for lower, euler, final, steps in itertools.product((True, False), (True, False), ("zero", "sigma_min"), (4, 16)):
        yield run(
            f"dpm_solver++/final/{lower}/{euler}/{final}/{steps}",
            {
                "_class_name": CLASSES["dpm_solver++"],
                "solver_order": 3,
                "lower_order_final": lower,
                "euler_at_final": euler,
                "final_sigmas_type": final,
            },
            steps,
            all_steps=steps < 10,
        )
    for spacing in ("linspace", "leading", "trailing"):
        yield case(
            "dpm_solver++", f"lambda_min_clipped/{spacing}", beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1,
            timestep_spacing=spacing,
        )  # fmt: skip
    for name, field in itertools.product(
        ("dpm_solver++", "euler"), ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
    ):
        if name == "euler" and field == "use_lu_lambdas":
            continue
        for schedule in ("linear", "squaredcos_cap_v2"):
            yield case(name, f"{field}/{schedule}", steps=7, beta_schedule=schedule, **{field: True})
        yield case(name, f"{field}/sigma_min", steps=4, final_sigmas_type="sigma_min", **{field: True})
    # Euler: the rest.
    yield case("euler", "log_linear", interpolation_type="log_linear")
    yield case("euler", "sigma_range", use_karras_sigmas=True, sigma_min=0.05, sigma_max=8.0)
    yield case("euler", "continuous", timestep_type="continuous", prediction_type="v_prediction")
    yield case("euler", "final_sigmas_type", final_sigmas_type="sigma_min", timestep_spacing="trailing")
    yield case("euler", "original_sample", prediction_type="original_sample")


def multistep_cases():
    def case(name, label, steps=5, **fields):
        return run(f"{name}/{label}", {"_class_name": ALL[name], **fields}, steps)

    for name in MULTISTEP:
        for steps in (1, 2, 3, 16, 30):
            yield run(f"sd15/{name}/{steps}", SD15, steps, sampler=name, all_steps=steps < 4)
        for schedule in ("karras", "exponential", "beta"):
            call = {f"use_{schedule}_sigmas": True}
            yield run(f"sd15/{name}/{schedule}", SD15, 12, sampler=name, schedule=schedule, call=call, all_steps=False)
        for prediction, spacing in itertools.product(
            ("epsilon", "sample", "v_prediction"), ("leading", "trailing", "linspace")
        ):
            if name == "dpmsolver_singlestep" and spacing != "linspace":
                continue
            yield case(name, f"{prediction}/{spacing}", prediction_type=prediction, timestep_spacing=spacing)
        yield case(name, "squaredcos_cap_v2", beta_schedule="squaredcos_cap_v2")
        yield case(name, "squaredcos_cap_v2/karras", beta_schedule="squaredcos_cap_v2", use_karras_sigmas=True)
        yield case(name, "steps_offset", steps_offset=3, num_train_timesteps=600, timestep_spacing="leading")
        yield case(name, "thresholding", thresholding=True, sample_max_value=1.7, dynamic_thresholding_ratio=0.8)
        yield case(name, "zero_snr", rescale_betas_zero_snr=True, prediction_type="v_prediction",
                   timestep_spacing="trailing")  # fmt: skip
        yield case(name, "sigma_range", use_karras_sigmas=True, sigma_min=0.05, sigma_max=8.0)

    name = "unipc_multistep"
    for order, kind, lower in itertools.product((1, 2, 3, 4), ("bh1", "bh2"), (True, False)):
        yield case(name, f"{order}/{kind}/{lower}", steps=7, solver_order=order, solver_type=kind,
                   lower_order_final=lower, final_sigmas_type="sigma_min")  # fmt: skip
    yield case(name, "midpoint", steps=6, solver_type="midpoint", solver_order=3)
    for prediction in ("epsilon", "sample", "v_prediction"):
        yield case(name, f"noise/{prediction}", predict_x0=False, prediction_type=prediction,
                   final_sigmas_type="sigma_min", solver_order=3)  # fmt: skip
    yield case(name, "disable_corrector", steps=6, disable_corrector=[0, 2, 3])

    name = "deis_multistep"
    for order, lower, steps in itertools.product((1, 2, 3), (True, False), (6, 16)):
        yield run(f"{name}/{order}/{lower}/{steps}", {"_class_name": ALL[name], "solver_order": order,
                  "lower_order_final": lower}, steps, all_steps=steps < 10)  # fmt: skip
    yield case(name, "other_names", algorithm_type="dpmsolver++", solver_type="bh2")

    name = "sasolver"
    for predictor, corrector, kind in itertools.product((1, 2, 3), (1, 2, 3), ("data_prediction", "noise_prediction")):
        yield case(name, f"{predictor}/{corrector}/{kind}", steps=6, predictor_order=predictor,
                   corrector_order=corrector, algorithm_type=kind)  # fmt: skip
    yield case(name, "4/4", steps=8, predictor_order=4, corrector_order=4)
    yield case(name, "lower_order_final", steps=6, predictor_order=3, corrector_order=3, lower_order_final=False)
    yield case(name, "lambda_min_clipped", beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1)
    for prediction in ("sample", "v_prediction"):
        yield case(name, f"noise/{prediction}", algorithm_type="noise_prediction", prediction_type=prediction)

    name = "dpmsolver_singlestep"
    for algorithm, order, kind in itertools.product(
        ("dpmsolver++", "sde-dpmsolver++", "dpmsolver"), (1, 2, 3), ("midpoint", "heun")
    ):
        if order == 1 and kind == "heun":
            continue
        final = "sigma_min" if algorithm == "dpmsolver" else "zero"
        yield case(name, f"{algorithm}/{order}/{kind}", steps=6, algorithm_type=algorithm, solver_order=order,
                   solver_type=kind, final_sigmas_type=final)  # fmt: skip
    for order, lower, final, steps in itertools.product((2, 3), (True, False), ("zero", "sigma_min"), (6, 7, 8)):
        yield run(f"{name}/final/{order}/{lower}/{final}/{steps}", {"_class_name": ALL[name], "solver_order": order,
                  "lower_order_final": lower, "final_sigmas_type": final}, steps, all_steps=False)  # fmt: skip
    yield case(name, "lambda_min_clipped", beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1)

    yield run("ipndm_scheduler/default", {"_class_name": "IPNDMScheduler"}, 7)
    yield run("ipndm_scheduler/sd15", SD15, 4, sampler="ipndm_scheduler")
    for name in ("edm_euler", "edm_dpmsolver_multistep"):
        yield run(f"{name}/default", {"_class_name": ALL[name]}, 6)
        for steps in (1, 25):
            yield run(f"{name}/{steps}", {"_class_name": ALL[name]}, steps, all_steps=False)
        yield case(name, "v_prediction", prediction_type="v_prediction")
        yield case(name, "exponential", sigma_schedule="exponential")
        yield case(name, "range", sigma_min=0.05, sigma_max=12.0, sigma_data=1.2, rho=4.0)
        yield case(name, "sigma_min", final_sigmas_type="sigma_min")
    name = "edm_dpmsolver_multistep"
    for algorithm, order, kind in itertools.product(("dpmsolver++", "sde-dpmsolver++"), (1, 2, 3), ("midpoint", "heun")):
        if (algorithm == "sde-dpmsolver++" and order == 3) or (order != 2 and kind == "heun"):
            continue
        yield case(name, f"{algorithm}/{order}/{kind}", steps=6, algorithm_type=algorithm, solver_order=order,
                   solver_type=kind)  # fmt: skip
    yield case(name, "thresholding", thresholding=True, sample_max_value=1.7)
    yield case(name, "lower_order_final", steps=6, lower_order_final=False, solver_order=3)


def random_cases():
    """Seeds with sequences of call sizes; short results as bits, long ones as a checksum of the bits."""
    for seed in (0, 42, 1234567, 2**32 - 1, 2**32 + 5, 2**63 - 1, -1, -1234567890123):
        generator = torch.Generator().manual_seed(seed)
        calls = []
        for n in (1, 5, 15, 16, 17, 31, 3, 100, 1, 1000, 16384, 7, 100003):
            values = torch.randn(n, generator=generator).numpy()
            bits = values.view(np.uint32).astype(np.uint64)
            weights = np.arange(1, n + 1, dtype=np.uint64)
            call = {"n": n, "sum": str(int(bits.sum())), "weighted": str(int((bits * weights).sum(dtype=np.uint64)))}
            if n <= 100:
                call["bits"] = hexed(values)
            calls.append(call)
        yield {"seed": str(seed), "calls": calls}


def schedule_cases():
    """alphas_cumprod, and numpy's float32 logarithm of the sigmas, which must match to the bit."""
    for config in (
        {},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 77},
        {"rescale_betas_zero_snr": True},
    ):
        scheduler = diffusers.EulerDiscreteScheduler.from_config(config)
        alphas = scheduler.alphas_cumprod.numpy()
        sigmas = (((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod) ** 0.5).numpy()
        picked = sorted({*range(0, len(sigmas), 37), len(sigmas) - 2, len(sigmas) - 1})
        yield {
            "config": config,
            "picked": picked,
            "alphas_cumprod": hexed(alphas[picked]),
            "alphas_cumprod_sum": str(int(alphas.view(np.uint32).astype(np.uint64).sum())),
            "sigmas": hexed(sigmas[picked]),
            "log_sigmas": hexed(np.log(sigmas)[picked]),
        }


def write(name, cases):
    versions = {"diffusers": diffusers.__version__, "torch": torch.__version__, "numpy": np.__version__}
    lines = ",\n".join(json.dumps(case, separators=(",", ":"), sort_keys=True) for case in cases)
    path = FOLDER / f"{name}.json"
    path.write_text(f'{{"versions": {json.dumps(versions)},\n"cases": [\n{lines}\n]}}\n')
    print(path.name, path.stat().st_size)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write("samplers", list(sampler_cases()))
    write("multistep", list(multistep_cases()))
    write("random", list(random_cases()))
    write("schedules", list(schedule_cases()))
