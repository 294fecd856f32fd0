from hptransfer.cli import run_stage

if __name__ == "__main__":
    run_stage("import")
