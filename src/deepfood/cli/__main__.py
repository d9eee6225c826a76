from deepfood.cli import main

main()
