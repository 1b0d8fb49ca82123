from sharedllm.cli.main import main

main()
