"""The report room: finished run directories in, report.html, .md, .json and .tex out. No torch here.

    runs = collect.read_runs(paths)              # plain files → records
    report = document.build(runs, plan)          # records → report.json's document
    holds, line = checks.check(claim, report)    # 'simclr.linear@10 > random.linear@10 + 5'
    page.write(report, out_dir)                  # → report.html, report.md, report.json, report.tex

What report.json holds, schema "gssl.report/2", is written down in `report.schema.json` beside this file, key by key;
docs/report.md says it in words. Accuracies, differences and intervals are shares in [0, 1]; what was not measured is
null. Reference lines (who has read all labels) are never ranked; of everything that was compared only the primary
family, fixed before any run, may carry the verdict.
"""
