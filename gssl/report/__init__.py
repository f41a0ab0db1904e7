"""The report room: finished run directories in, report.html, report.md and report.json out. No torch here.

    runs = collect.read_runs(paths)              # plain files → records
    report = document.build(runs, plan)          # records → report.json's document
    holds, line = checks.check(claim, report)    # 'simclr.linear@10 > random.linear@10 + 5'
    page.write(report, out_dir)                  # → report.html, report.md, report.json

report.json, schema "gssl.report/1". Accuracies, differences and intervals are shares in [0, 1]; what was not
measured is null.

    schema, created (ISO 8601, UTC), gssl (version), data (name), question
    verdict      headline, cannot [sentences: what these runs cannot show], sentences [primary family],
                 exploratory [sentences], cautions [sentences]
    primary      probe, amount, pairs [[a, b]], fixed_by "plan" | "rule"
    arms         [{name, title, role "contestant" | "control" | "reference", pretrained, seeds, failed_seeds,
                 backbone}]; reference lines are never ranked
    seeds        [those that were seen]; planned_seeds: [those of the plan] or null
    amounts      [{key "10" (per class) | "1%" | "all", label, n_train}], from few labels to all
    probes       [names]
    table        one row per arm, probe and amount: role, labels_per_class, fraction, mean (over seeds),
                 interval, per_seed {seed: mean over label draws}, n_seeds, draws, draw_sd (s.d. over draws
                 within a seed), n_train, n_test, validation (the mean validation accuracy beside it),
                 balanced (mean balanced accuracy), chosen
      interval   {kind "t" (over seeds, cut to [0, 1]) | "wilson" (one seed, over test images) | "newcombe" (a
                 difference, one seed), over, n, level, low, high} or null
    differences  [{a, b, probe, probes [a's, b's], amount, mean (a − b over shared seeds), interval, p (exact
                 sign-flip, two-sided), p_adjusted (max-T over the primary family), effect_size (d_z),
                 n_seeds, per_seed, family "primary" | "exploratory"}]
    curves       [{arm, seed, metric, kind "loss" | "validation", step, images, value}], 200 points at most
    alarms       [{arm, seed, step, alarm}]: what a run's own watch found, such as collapsed features
    samples      [{arm, seed, kind "samples" | "reconstructions", file, step, width, height, png (base64, null
                 where too large)}]
    compute      [{arm, seed, stage, seconds, flops, images, steps, epochs, peak_memory_bytes,
                 images_per_second}]
    provenance   command, environments [{values, runs}], data [{summary, runs}], runs [{arm, seed, stage,
                 state, path, command, config_hash, started, ended, weights {name: sha256}, source,
                 load_report, objective, test_openings, data_hash}]
    failed       [{arm, seed, stage, state, error, path}]; state "missing": never started
    missing      [{arm, seed}]: planned, without a finished judgement and not in `failed`
    allow_norm_diff, notes, limitations [sentences]
"""
