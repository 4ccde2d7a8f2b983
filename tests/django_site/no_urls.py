"""No routes: for a site without our app."""

urlpatterns: list = []
