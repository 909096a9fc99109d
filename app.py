from licenzy import create_app

app = create_app()
