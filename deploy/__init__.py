"""What production needs beside the images: its resources, and the code that its jobs run."""
